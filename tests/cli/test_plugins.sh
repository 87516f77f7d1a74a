#!/usr/bin/env bash
# pare plugins: techniques, devices and losses with their parameters; a loss and a technique may have one id.
. "$(dirname "$0")/lib.sh"

ok plugins
says "distill.hinton: Trains a model"
says "loss distill.hinton: "
says "loss distill.dkd: "
says "loss distill.dist: "
says "train.supervised: "
says "batchnorm.recalibrate: "
says "temperature: a float in (0, 1000]; default 4"

cases=$PARE_BUILD/tests/plugins
ok plugins --json --plugin-dir "$cases/losses"
cat > look.py << 'P'
import json
plugins = {p["id"]: p for p in json.load(open("out"))["plugins"]}
parts = {(c["kind"], c["id"]): c for c in plugins["distill"]["components"]}
hinton, dkd = parts["loss", "distill.hinton"], parts["loss", "distill.dkd"]
assert set(parts) == {("technique", "distill.hinton"), ("loss", "distill.hinton"), ("loss", "distill.dkd"),
                      ("loss", "distill.dist")}, parts
assert [p["name"] for p in dkd["params"]] == ["teacher", "weights", "temperature", "alpha", "beta", "cross_entropy",
                                             "warmup"]
assert dkd["labels"] and dkd["teacher"] and hinton["teacher"] and not hinton["labels"]
assert {c["kind"] for c in plugins["test-losses"]["components"]} == {"loss"}
P
check python3 look.py

ok plugins --why --plugin-dir "$cases/losses" --plugin-dir "$cases/loss_taken"
says "its loss test.plain is already offered by plugin test-losses"
ok schema
says distill.dist

finish
