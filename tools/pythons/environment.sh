# shellcheck shell=bash
# Sourced by the other scripts of tools/pythons: the interpreters' names and directories, and how to
# run one.
set -euo pipefail
shopt -s inherit_errexit

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${IOCP_SOCK_PYTHONS:-/var/cache/iocp_sock-pythons}
mkdir -p "$home"
home=$(cd "$home" && pwd)

# `debian` has the interpreters that Debian's suite `unstable` has as packages. `built` has those
# that are built from Debian's source package.
debian=(3.13 3.14 3.15)
threaded=3.13
built=("${threaded}t" "${threaded}t-tsan")
debian_root=$home/debian

say() { printf -- '-- %s\n' "$*" >&2; }

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# is_one_of NAME LIST...: succeeds if the list contains the name.
is_one_of() {
    local each
    for each in "${@:2}"; do [[ $each == "$1" ]] && return; done
    return 1
}

known() {
    is_one_of "$1" "${debian[@]}" "${built[@]}" ||
        die "no interpreter is called '$1'; the names are: ${debian[*]} ${built[*]}"
}

# step_of NAME: prints the step of setup that makes the interpreter.
step_of() { if is_one_of "$1" "${debian[@]}"; then echo debian; else echo "$1"; fi; }

# in_debian COMMAND...: runs a command with the newer Debian's /usr in place of the machine's. All
# other paths are the machine's. The mounts belong to the process and end with it.
in_debian() {
    # shellcheck disable=SC2016 # the new shell expands it
    exec unshare --mount --propagation private sh -euc '
        mount --bind "$0/etc/ld.so.cache" /etc/ld.so.cache
        mount --bind "$0/etc/alternatives" /etc/alternatives
        mount --rbind "$0/usr" /usr
        exec "$@"' "$debian_root" "$@"
}

# fixed_addresses COMMAND...: runs a command without address space randomisation, because
# ThreadSanitizer maps its shadow memory at fixed addresses.
fixed_addresses() {
    if setarch "$(uname -m)" --addr-no-randomize true 2>/dev/null; then
        exec setarch "$(uname -m)" --addr-no-randomize "$@"
    fi
    exec "$@"
}

# run NAME COMMAND...: runs a command with the interpreter NAME as `python`.
run() {
    local name=$1
    shift
    [[ -e $home/stamp/$(step_of "$name") ]] || die "$name is missing: tools/pythons/setup $name"
    # Keeps the GIL off. Otherwise importing a package without support for free threading would
    # switch it on.
    [[ $name == *t* ]] && export PYTHON_GIL=0
    export PATH=$home/bin/$name:$PATH
    case $(step_of "$name") in
    debian) in_debian "$@" ;;
    *-tsan)
        unset PYTHONDONTWRITEBYTECODE # compiling a module takes seconds there
        TSAN_OPTIONS="suppressions=$(suppressions "$name") ${TSAN_OPTIONS-}" fixed_addresses "$@"
        ;;
    *) exec "$@" ;;
    esac
}

# suppressions NAME: prints the path of ThreadSanitizer's suppressions: CPython's list and ours.
suppressions() {
    local lists=("$home/$1"/tsan/supp*free_threading.txt "$tools/tsan-suppressions.txt") path
    path=$home/suppressions-$(cat "${lists[@]}" | sha256sum | head -c 16)
    [[ -e $path ]] || { cat "${lists[@]}" >"$path.$$" && mv "$path.$$" "$path"; }
    printf '%s\n' "$path"
}
