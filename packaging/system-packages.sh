#!/usr/bin/env bash
# Finds out what the machine lacks to build, open or test Satchel, and installs it where it can.
#
#   packaging/system-packages.sh build|run|test
#
#   build  what the compilers need
#   run    also what the window loads when it opens (left out where no display is set)
#   test   also what only the tests use
#
# Looks for the programs and files themselves, never for packages: a self-built cmake counts.
# When nothing is missing it takes a tenth of a second, starts no package manager and uses no network.
# Debian, Ubuntu and their relatives: installs with apt-get, through sudo when not root.
# Elsewhere: prints the exact command and stops with exit code 1. Changes nothing else.
set -u

purpose=${1:-build}
case $purpose in
  build | run | test) ;;
  *) echo "usage: $0 build|run|test" >&2; exit 2 ;;
esac

# rust-version in Cargo.toml: eframe 0.37 needs it.
readonly MINIMUM_RUST_MINOR=95

say() { printf '%s\n' "$*" >&2; }

# ---------------------------------------------------------------- what is looked for

has_program() { command -v "$1" >/dev/null 2>&1; }

# One of the files named by the patterns exists.
has_file() { compgen -G "$1" >/dev/null || { [ $# -gt 1 ] && shift && has_file "$@"; }; }

# The dynamic linker's list, read once. On macOS the window uses only what the system brings.
loadable=$( (ldconfig -p || /sbin/ldconfig -p) 2>/dev/null )
has_library() {
  case $loadable in *"$1"*) return 0 ;; esac
  # Without a list (musl, a container without ldconfig): the usual folders.
  has_file "/usr/lib/$1*" "/usr/lib64/$1*" "/usr/lib/*-linux-gnu*/$1*" "/lib/$1*"
}

has_compiler() { has_program c++ && has_program cc && { [ "$(uname -s)" = Darwin ] || has_file '/usr/include/stdio.h' '/usr/include/*/stdio.h'; }; }

# bindgen loads libclang and needs the headers of the same clang (stddef.h and the like).
has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return 0
  has_file '/Library/Developer/CommandLineTools/usr/lib/libclang.dylib' '/Applications/Xcode*.app/Contents/Developer/Toolchains/*/usr/lib/libclang.dylib' '/opt/homebrew/opt/llvm/lib/libclang.dylib' '/usr/local/opt/llvm/lib/libclang.dylib' && return 0
  { has_library libclang.so || has_library libclang- || has_file '/usr/lib/llvm*/lib/libclang*.so*' '/usr/lib64/llvm*/lib*/libclang*.so*'; } &&
    has_file '/usr/lib/llvm*/lib/clang/*/include/stddef.h' '/usr/lib/clang/*/include/stddef.h' '/usr/lib64/clang/*/include/stddef.h' '/usr/lib/llvm*/lib64/clang/*/include/stddef.h'
}

# LanceDB's build compiles .proto files, which import the ones that come with protoc.
has_protoc() {
  local protoc
  protoc=${PROTOC:-$(command -v protoc)} && [ -x "$protoc" ] || return 1
  [ -n "${PROTOC_INCLUDE:-}" ] || has_file "$(dirname "$protoc")/../include/google/protobuf/empty.proto" '/usr/include/google/protobuf/empty.proto' '/opt/homebrew/include/google/protobuf/empty.proto'
}

has_pip() { has_program pip3 || has_program pip || python3 -c 'import pip' >/dev/null 2>&1; }

has_vulkan_driver() { has_file '/usr/share/vulkan/icd.d/*.json' '/etc/vulkan/icd.d/*.json' '/usr/local/share/vulkan/icd.d/*.json'; }

has_roots() { has_file '/etc/ssl/certs/*' '/etc/pki/tls/certs/*' '/etc/ssl/cert.pem'; }

missing=() apt=() dnf=() pacman=() brew=()

# need WHAT FOR APT DNF PACMAN BREW CHECK…: notes WHAT as missing when CHECK fails. `-`: no package needed there.
need() {
  local what=$1 purpose_of_it=$2 apt_names=$3 dnf_names=$4 pacman_names=$5 brew_names=$6
  shift 6
  "$@" && return
  missing+=("$what ($purpose_of_it)")
  # Unquoted on purpose: one entry can need two packages.
  # shellcheck disable=SC2206
  { [ "$apt_names" = - ] || apt+=($apt_names); [ "$dnf_names" = - ] || dnf+=($dnf_names); [ "$pacman_names" = - ] || pacman+=($pacman_names); [ "$brew_names" = - ] || brew+=($brew_names); }
}

look_for_build_tools() {
  need 'C and C++ compiler' 'llama.cpp and others' 'g++' 'gcc-c++' gcc - has_compiler
  need make 'llama.cpp' make make make - has_program make
  need cmake 'llama.cpp' cmake cmake cmake cmake has_program cmake
  need libclang 'bindings to llama.cpp' 'libclang-dev' 'clang-devel' clang llvm has_libclang
  need protoc 'LanceDB' 'protobuf-compiler libprotobuf-dev' 'protobuf-compiler protobuf-devel' protobuf protobuf has_protoc
  need pkg-config 'finding libraries' pkg-config pkgconf-pkg-config pkgconf pkgconf has_program pkg-config
  need python3 'unpacking the starter models' python3 python3 python python has_program python3
  need pip 'obtaining the starter models' python3-pip python3-pip python-pip python has_pip
  need 'root certificates' 'downloads' ca-certificates ca-certificates ca-certificates - has_roots
}

look_for_window_libraries() {
  [ "$(uname -s)" = Linux ] || return 0
  need libxkbcommon window libxkbcommon0 libxkbcommon libxkbcommon - has_library libxkbcommon.so.0
  need libxkbcommon-x11 window libxkbcommon-x11-0 libxkbcommon-x11 libxkbcommon-x11 - has_library libxkbcommon-x11.so.0
  need libwayland-client window libwayland-client0 libwayland-client wayland - has_library libwayland-client.so.0
  need libX11 window libx11-6 libX11 libx11 - has_library libX11.so.6
  need libX11-xcb window libx11-xcb1 libX11-xcb libx11 - has_library libX11-xcb.so.1
  need libXcursor window libxcursor1 libXcursor libxcursor - has_library libXcursor.so.1
  need libXi window libxi6 libXi libxi - has_library libXi.so.6
  need libXrandr window libxrandr2 libXrandr libxrandr - has_library libXrandr.so.2
  need fontconfig window libfontconfig1 fontconfig fontconfig - has_library libfontconfig.so.1
  need 'Vulkan loader' window libvulkan1 vulkan-loader vulkan-icd-loader - has_library libvulkan.so.1
  need 'Vulkan driver' window mesa-vulkan-drivers mesa-vulkan-drivers vulkan-swrast - has_vulkan_driver
}

look_for_test_tools() {
  [ "$(uname -s)" != Linux ] || need Xvfb 'tests of the window' xvfb xorg-x11-server-Xvfb xorg-server-xvfb - has_program Xvfb
  need pdftotext 'tests of PDF import' poppler-utils poppler-utils poppler poppler has_program pdftotext
}

# ---------------------------------------------------------------- what is done about it

# debian, fedora, arch, macos or unknown.
system_family() {
  [ "$(uname -s)" = Darwin ] && { echo macos; return; }
  local ID='' ID_LIKE=''
  # shellcheck disable=SC1091
  [ -r /etc/os-release ] && . /etc/os-release
  case " $ID $ID_LIKE " in
    *" debian "* | *" ubuntu "*) echo debian ;;
    *" fedora "* | *" rhel "* | *" centos "*) echo fedora ;;
    *" arch "*) echo arch ;;
    *) echo unknown ;;
  esac
}

# The one thing to type, on a line of its own.
stop_with_command() {
  say ""
  say "    $*"
  say ""
  say "Then run make again."
  exit 1
}

# Runs as root: directly, or through sudo, which asks only where someone can answer.
as_root=()
become_root() {
  [ "$(id -u)" -eq 0 ] && return
  if ! has_program sudo; then
    say "Installing needs root, and there is no sudo here. As root, please:"
    stop_with_command "apt-get update && apt-get install --yes --no-install-recommends ${apt[*]}"
  elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  elif [ -t 0 ] && [ -t 2 ]; then
    say "sudo may ask for your password."
    as_root=(sudo)
  else
    say "Installing needs root: sudo wants a password, and there is no terminal to ask for it. Please run:"
    stop_with_command "sudo apt-get update && sudo apt-get install --yes --no-install-recommends ${apt[*]}"
  fi
}

apt_get() {
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a \
    apt-get --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# dpkg leaves files here when it was cut off in the middle, for instance by Ctrl-C.
repair_interrupted_dpkg() {
  has_file '/var/lib/dpkg/updates/[0-9]*' || [ -n "$(dpkg --audit 2>/dev/null)" ] || return 0
  say "An earlier installation was interrupted; finishing it first."
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive dpkg --configure -a
  apt_get --fix-broken install
}

install_on_debian() {
  become_root
  repair_interrupted_dpkg
  say "Installing: ${apt[*]}"
  apt_get update || say "Some package lists could not be refreshed; going on with those at hand."
  apt_get install "${apt[@]}" && return
  say ""
  say "apt-get could not install everything; its reason is above (often: no network). The command was:"
  stop_with_command "${as_root[*]+sudo }apt-get install --no-install-recommends ${apt[*]}"
}

install_missing() {
  say "Missing on this machine:"
  printf '  - %s\n' "${missing[@]}" >&2
  case $(system_family) in
    debian) install_on_debian ;;
    fedora) say "Please install it:"; stop_with_command "sudo dnf install ${dnf[*]}" ;;
    arch) say "Please install it:"; stop_with_command "sudo pacman -S --needed ${pacman[*]}" ;;
    macos)
      has_compiler || { say "The compilers come with Apple's command line tools: xcode-select --install"; }
      [ ${#brew[@]} -eq 0 ] && exit 1
      say "Please install the rest:"; stop_with_command "brew install ${brew[*]}" ;;
    *) say "This system is not one that Satchel knows the package names of."
      say "On Debian they are called: ${apt[*]}"
      say "Install their like, then run make again."
      exit 1 ;;
  esac
}

look_for_everything() {
  missing=() apt=() dnf=() pacman=() brew=()
  look_for_build_tools
  case $purpose in
    run) [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || look_for_window_libraries ;;
    test) look_for_window_libraries; look_for_test_tools ;;
  esac
}

check_rust() {
  local version
  if ! has_program cargo || ! version=$(rustc --version 2>/dev/null); then
    say "Rust is missing. Satchel needs Rust 1.$MINIMUM_RUST_MINOR or newer, for instance through rustup"
    say "(https://rustup.rs, or the package 'rustup' of Debian 13, Ubuntu 24.04, Fedora, Arch and Homebrew):"
    stop_with_command "rustup default stable"
  fi
  local minor=${version#rustc 1.}
  minor=${minor%%.*}
  case $minor in '' | *[!0-9]*) return ;; esac # a Rust 2 would be newer; an unknown form is cargo's to judge
  [ "$minor" -ge "$MINIMUM_RUST_MINOR" ] && return
  say "Rust is too old: this is '$version', and Satchel needs 1.$MINIMUM_RUST_MINOR or newer."
  stop_with_command "rustup update stable && rustup default stable"
}

# Not needed: without them answers come from the processor alone, and vulkan.sh says so.
install_gpu_tools() {
  [ "$(uname -s)" = Linux ] && ! has_program glslc && [ "$(system_family)" = debian ] || return 0
  apt-cache show glslc >/dev/null 2>&1 || return 0
  [ "$(id -u)" -eq 0 ] || { has_program sudo && { sudo -n true 2>/dev/null || { [ -t 0 ] && [ -t 2 ]; }; }; } || return 0
  become_root
  say "Installing what llama.cpp's code for GPUs is compiled with: glslc libvulkan-dev spirv-headers"
  apt_get install glslc libvulkan-dev spirv-headers || say "That did not work; going on without."
}

look_for_everything
if [ ${#missing[@]} -gt 0 ]; then
  install_missing
  loadable=$( (ldconfig -p || /sbin/ldconfig -p) 2>/dev/null )
  hash -r
  look_for_everything
  if [ ${#missing[@]} -gt 0 ]; then
    say "Still missing after the installation:"
    printf '  - %s\n' "${missing[@]}" >&2
    exit 1
  fi
fi
install_gpu_tools
check_rust
