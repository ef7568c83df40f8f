#!/usr/bin/env bash
# Opens Satchel's window where a display answers; else does the main job in the terminal.
#
#   packaging/start.sh PATH-OF-SATCHEL
#
# Decides only that; it installs, builds and fetches nothing.
set -u

if [ $# -ne 1 ] || [ ! -x "$1" ]; then
  echo "usage: $0 PATH-OF-SATCHEL (build it first: make build)" >&2
  exit 2
fi
satchel=$1

# A socket file can outlive its server, so the question is whether it takes a connection.
display_answers() {
  case $(uname -s) in Darwin) [ -z "${SSH_CONNECTION:-}" ]; return ;; esac
  [ -n "${WAYLAND_DISPLAY:-}${DISPLAY:-}" ] || return 1
  command -v python3 >/dev/null 2>&1 || return 0 # the window itself will find out
  python3 - <<'PYTHON'
import os, re, socket, sys

def unix(path):
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(2)
        door.connect(path)

def wayland():
    unix(os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), os.environ["WAYLAND_DISPLAY"]))

def x11():
    host, number = re.fullmatch(r"(.*):(\d+)(?:\.\d+)?", os.environ["DISPLAY"]).groups()
    if host in ("", "unix"):
        try:
            unix("\0/tmp/.X11-unix/X" + number)
        except OSError:
            unix("/tmp/.X11-unix/X" + number)
    else:
        socket.create_connection((host, 6000 + int(number)), timeout=2).close()

for name, ask in (("WAYLAND_DISPLAY", wayland), ("DISPLAY", x11)):
    if os.environ.get(name):
        try:
            ask()
            sys.exit(0)
        except (OSError, AttributeError, ValueError):
            pass
sys.exit(1)
PYTHON
}

if ! display_answers; then
  echo "No display answers: working in the terminal." >&2
  exec "$satchel" try
fi

started=$SECONDS
"$satchel" open
code=$?
# A window that never came (no permission for the display, no usable graphics) ends within seconds.
# A closed window, Ctrl-C and a later failure are the program's own affair.
if [ "$code" -eq 1 ] && [ $((SECONDS - started)) -lt 10 ]; then
  echo "The window did not open; its reason is above. Working in the terminal instead." >&2
  exec "$satchel" try
fi
exit "$code"
