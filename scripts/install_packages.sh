#!/usr/bin/env bash
# Installs what the build needs and this machine lacks, on Debian and Ubuntu, as root or through sudo.
# Nothing is missing: nothing is printed and nothing done.
#   scripts/install_packages.sh [FURTHER PACKAGES]
set -euo pipefail

missing=()
command -v g++ >/dev/null || missing+=(g++)
command -v cmake >/dev/null || missing+=(cmake)
command -v ninja >/dev/null || missing+=(ninja-build)

if ! command -v apt-get >/dev/null; then
  if [ "${#missing[@]}" -gt 0 ] || [ "$#" -gt 0 ]; then
    echo "install_packages.sh: this system has no apt-get. Please install: ${missing[*]} $*" >&2
    exit 1
  fi
  exit 0 # cmake fetches the libraries that it does not find
fi

for package in libeigen3-dev nlohmann-json3-dev libcli11-dev librandom123-dev libxxhash-dev libpcre2-dev libutf8proc-dev \
  doctest-dev libedit-dev libyaml-dev libopenmpi-dev openmpi-bin "$@"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install_packages.sh: not root, and there is no sudo. Please run as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
"${apt[@]}" update
"${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null
