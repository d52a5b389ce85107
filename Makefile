# Two commands for a fresh clone: `make demo` and `make test`. They need Python 3.11 or later with its venv module.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
SOURCES := setup.cfg pyproject.toml $(shell find s3proxy twisted -name '*.py' 2>/dev/null)

.PHONY: demo test clean

demo: $(VENV)/demo-installed
	$(VENV)/bin/s3proxy demo $(ARGS)

test: $(VENV)/tox-installed
	$(VENV)/bin/tox run -e lint,types,py $(ARGS)

clean:
	rm -rf $(VENV) .tox build *.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is needed: on Debian, apt-get install python3-venv" >&2; exit 1; }

$(VENV)/tox-installed: $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'tox>=4.11'
	@touch $@

$(VENV)/demo-installed: $(VENV)/bin/python $(SOURCES)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check '.[demo]'
	@touch $@
