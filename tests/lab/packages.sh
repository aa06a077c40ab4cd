# Sourced by quickstart and test: need_packages GROUP... installs what is missing, or only checks with NO_INSTALL=1.
need_packages() {
  local list here group missing=() package arch
  arch=$(dpkg --print-architecture)
  here=$(dirname "${BASH_SOURCE[0]}")
  for group in "$@"; do
    list=$(sed -n "s/^$group\(-$arch\)\?: //p" "$here/packages")
    for package in $list; do
      dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "Debian packages needed and not installed: ${missing[*]}"
  if [ "${NO_INSTALL:-}" = 1 ]; then
    echo "Install them with: apt-get install --no-install-recommends ${missing[*]}" >&2
    return 1
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Installing needs root: run 'apt-get install --no-install-recommends ${missing[*]}' as root, then try again." >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing them ..."
  "${as_root[@]}" apt-get update -q >/dev/null || true
  # nginx and redis are only run by hand: their services must not start here.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null && "${as_root[@]}" chmod +x $policy && made=1
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/tmp/hostloom-apt.$$.log 2>&1
  local status=$?
  [ -n "$made" ] && "${as_root[@]}" rm -f $policy
  [ $status -eq 0 ] || { echo "apt-get failed:" >&2; tail -n 20 /tmp/hostloom-apt.$$.log >&2; }
  rm -f /tmp/hostloom-apt.$$.log
  return $status
}
