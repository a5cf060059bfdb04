# shellcheck shell=bash
# Functions that make a Python environment and start what runs in it. Sourced by quickstart.sh, test.sh and recipes/*/run.sh.

fail() {
    echo "error: $*" >&2
    exit 2
}

# free_port: one that no other run on this machine uses.
free_port() {
    "${PYTHON:-python}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# launch SCRIPT ...: one process under the DeepSpeed launcher. Where there is no accelerator it is told so: it would warn of
# it twice, and of the list of hosts that one machine does not need.
launch() {
    if [ ! -e /dev/nvidiactl ] && [ ! -e /dev/kfd ] && [ ! -e /dev/dxg ]; then
        local -x DS_ACCELERATOR=${DS_ACCELERATOR:-cpu}
    fi
    deepspeed --quiet --num_accelerators 1 --master_port "$(free_port)" "$@"
}

# check_machine PYTHON: everything the installation needs, or one line that says what to install.
check_machine() {
    local python=$1
    if ! printf '#include <vector>\nint main() {}\n' | "${CXX:-c++}" -x c++ -fsyntax-only - 2>/dev/null; then
        fail "no C++ compiler (${CXX:-c++}), and DeepSpeed builds with it: install one, on Debian or Ubuntu with" \
            "'apt-get install g++', or name one with CXX"
    fi
    "$python" -c '' 2>/dev/null || fail "no $python here: install Python 3.11 or newer, or name one with --python"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is $("$python" --version 2>&1), and 3.11 or newer is needed: name another with --python"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no module venv: on Debian or Ubuntu 'apt-get install python3-venv'"
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.isfile(sysconfig.get_path("include") + "/Python.h"))' ||
        fail "$python has no Python.h, and DeepSpeed builds with it: on Debian or Ubuntu 'apt-get install python3-dev'"
}

# find_python: the first of the usual names that is 3.11 or newer.
find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo python3
}

# fitting_torch PYTHON: the version of the torch that is there, if it is one we support.
fitting_torch() {
    "$1" - 2>/dev/null <<'PYTHON'
from importlib.metadata import PackageNotFoundError, version

try:
    found = version("torch")
except PackageNotFoundError:
    found = "0.0"
if tuple(int(part) for part in found.split(".")[:2]) >= (2, 9):
    print(found)
PYTHON
}

# make_environment FOLDER PYTHON CONSTRAINTS REQUIREMENT INDEX_URL [keep_torch]: install, unless nothing has changed
# since the last time. Leaves the seconds it took in FOLDER/installed_seconds. With an INDEX_URL torch comes from that
# index, and the rest from there too or from the usual one. With keep_torch a torch that is there already (in FOLDER,
# or where PYTHON finds it) and that fits stays; else it must be the one that the constraints name.
make_environment() {
    local folder=$1 python=$2 constraints=$3 requirement=$4 index_url=$5 keep_torch=${6:-} wanted start pip options=""
    wanted="$(cat setup.cfg "$constraints" | sha256sum) $requirement $PWD $("$python" --version)"
    if [ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ]; then
        echo "$folder is up to date"
        return
    fi
    start=$SECONDS
    echo "installing into $folder"
    if [ -n "$keep_torch" ] && [ -n "$(fitting_torch "$python")" ]; then options=--system-site-packages; fi
    "$folder/bin/python" -m pip --version >/dev/null 2>&1 ||
        "$folder/bin/python" -m ensurepip >/dev/null 2>&1 ||
        "$python" -m venv --clear $options "$folder"
    "$folder/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$folder holds $("$folder/bin/python" --version), and 3.11 or newer is needed: remove $folder"
    rm -f "$folder/installed"
    cp "$constraints" "$folder/constraints.txt"
    if [ -n "$keep_torch" ] && [ -n "$(fitting_torch "$folder/bin/python")" ]; then
        sed -i "s/^torch==.*/torch==$(fitting_torch "$folder/bin/python")/" "$folder/constraints.txt"
    fi
    pip=("$folder/bin/python" -m pip --disable-pip-version-check install --constraint "$folder/constraints.txt")
    if [ ! -t 1 ]; then pip+=(--quiet); fi
    if [ -n "$index_url" ]; then
        "${pip[@]}" --index-url "$index_url" torch
        pip+=(--extra-index-url "$index_url")
    fi
    "${pip[@]}" --editable "$requirement"
    echo $((SECONDS - start)) >"$folder/installed_seconds"
    echo "$wanted" >"$folder/installed"
}

# enter_environment FOLDER: its commands come first, and what DeepSpeed builds for its torch stays inside it.
enter_environment() {
    VIRTUAL_ENV=$(cd "$1" && pwd)
    export VIRTUAL_ENV PATH="$VIRTUAL_ENV/bin:$PATH" TORCH_EXTENSIONS_DIR="$VIRTUAL_ENV/torch_extensions"
    unset PYTHONHOME
}
