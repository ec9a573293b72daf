# shellcheck shell=bash
# Sourced by the other scripts of tools/windows: the directories, and how to start Wine without a
# terminal or file.
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$root/tools/windows
home=${IOCP_SOCK_WINDOWS:-$root/build/windows}
mkdir -p "$home"
home=$(cd "$home" && pwd)
windows_python=$home/python
host=$home/host

export IOCP_SOCK_WINDOWS=$home
export WINEPREFIX=$home/prefix WINEARCH=win64 WINEDEBUG=${WINEDEBUG:--all}
export WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe='
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Unsets the variables of the host that would lead Windows programs to the host's files.
unset DISPLAY PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV LD_PRELOAD TMPDIR TEMP TMP
export LC_ALL=C.UTF-8

wine() { /usr/lib/wine/wine64 "$@"; }
wineserver() { /usr/lib/wine/wineserver64 "$@"; }

say() { printf -- '-- %s\n' "$*" >&2; }

# locked COMMAND...: runs a command with the lock that every change of $home needs.
locked() {
    (
        flock 9
        "$@" 9>&-
    ) 9>"$home/lock"
}

server_runs() { wineserver -k0 2>/dev/null; }

# Starts the Wine server and its services without this script's standard output. They would keep the
# output open, and the reader of a pipe would wait for them.
start_server() {
    server_runs && return
    wineserver -p3600 </dev/null >/dev/null 2>>"$home/wineserver.log"
    wine cmd /c exit </dev/null >/dev/null 2>&1
}

stop_server() {
    server_runs || return 0
    wineserver -k </dev/null >/dev/null 2>&1 || true
    wineserver -w </dev/null >/dev/null 2>&1 || true
}

# run_windows PROGRAM ARGUMENT...: runs a program with its output through a pipe. Wine gives the
# program's exit status modulo 256.
run_windows() {
    locked start_server
    set +o pipefail
    wine "$@" </dev/null 2>&1 | cat
    local status=${PIPESTATUS[0]}
    set -o pipefail
    return "$status"
}

# Brings $home/tree up to date with the sources, without the files of builds. The copied files keep
# their times, so that compiled files stay valid.
snapshot() {
    local tree=$home/tree wanted
    mkdir -p "$tree"
    wanted=$(mktemp "$home/wanted.XXXXXX")
    (
        cd "$root"
        if [[ -e .git ]]; then
            git -c safe.directory="$root" ls-files -z --cached --others --exclude-standard
        else
            find . \( -path ./build -o -name __pycache__ \) -prune -o -type f -printf '%P\0'
        fi | while IFS= read -r -d '' file; do
            if [[ -f $file ]]; then printf '%s\0' "$file"; fi
        done | LC_ALL=C sort -z >"$wanted"
        tar --create --null --no-recursion --files-from="$wanted" | tar --extract --directory "$tree"
        cd "$tree"
        find . -type f -not -path '*/__pycache__/*' -printf '%P\0' | LC_ALL=C sort -z |
            LC_ALL=C comm -z -13 "$wanted" - | xargs -0 -r rm -f
    )
    rm -f "$wanted"
}
