#!/usr/bin/env bash
# Finds what llama.cpp's Vulkan code is compiled with, and says how to build: prints NAME=VALUE lines for `env`.
#
#   packaging/vulkan.sh FOLDER
#
# Where the system's headers are new enough, they are used. Debian 12's are not (1.3.239): there the header packages of
# Debian 13 are downloaded from the archive that this machine installs from, checked by apt, and unpacked into FOLDER;
# nothing of them is installed. Where neither works, the build goes on without Vulkan: answers then come from the
# processor alone, and this says so. The library that comes of it is loaded only where there is a GPU.
set -u

folder=${1:?usage: packaging/vulkan.sh FOLDER}

say() { printf '%s\n' "$*" >&2; }

without() {
  say "Building without Vulkan, so answers will use the processor alone: $1"
  echo GGML_VULKAN=OFF
  exit 0
}

# llama.cpp names vk::LayerSettingEXT, which came with 1.3.272, and finds SPIR-V's headers through their CMake files.
new_enough() {
  grep -qs 'struct LayerSettingEXT' "$1/include/vulkan/vulkan_structs.hpp" &&
    compgen -G "$1/share/cmake/SPIRV-Headers/*onfig.cmake" >/dev/null
}

[ "$(uname -s)" = Linux ] || { echo GGML_VULKAN=OFF; exit 0; } # macOS has Metal.
command -v glslc >/dev/null || without "glslc, which compiles its shaders, is not installed (Debian, Ubuntu: glslc libvulkan-dev spirv-headers; Fedora: glslc vulkan-headers vulkan-loader-devel spirv-headers-devel; Arch: shaderc vulkan-headers vulkan-icd-loader spirv-headers)."

for prefix in /usr /usr/local; do
  if new_enough "$prefix" && compgen -G "$prefix/lib*/libvulkan.so" "$prefix/lib/*/libvulkan.so" >/dev/null; then
    echo GGML_VULKAN=ON
    exit 0
  fi
done

# What is linked to is the loader of this machine; its development package only adds this name.
loader=$( (ldconfig -p || /sbin/ldconfig -p) 2>/dev/null | sed -n 's/.*libvulkan\.so\.1 .*=> //p' | head -n 1)
[ -n "$loader" ] || without "the Vulkan loader (libvulkan.so.1) is not installed."

download() {
  local ID='' VERSION_CODENAME='' site work
  # shellcheck disable=SC1091
  [ -r /etc/os-release ] && . /etc/os-release
  [ "$ID $VERSION_CODENAME" = 'debian bookworm' ] || { say "Vulkan's headers are older than 1.3.272, or missing."; return 1; }
  # shellcheck disable=SC2016 # apt-get fills these in.
  site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | awk '$2 == "bookworm" { print $1; exit }')
  [ -n "$site" ] || { say "No archive of Debian is set up here."; return 1; }
  work=$(mktemp -d "${TMPDIR:-/tmp}/satchel-vulkan.XXXXXX") || return 1
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main" >"$work/sources.list"
  # Lists and cache of its own: what the machine knows about its packages stays as it is.
  local options=(-qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State=$work/state"
    -o "Dir::State::Status=/var/lib/dpkg/status" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=)
  say "Downloading headers of Vulkan for the build (2 MB, and the list of packages)."
  apt-get "${options[@]}" update >&2 &&
    (cd "$work" && apt-get "${options[@]}" download libvulkan-dev spirv-headers >&2) || return 1
  rm -rf "$folder.unfinished"
  for package in "$work"/*.deb; do
    dpkg-deb --extract "$package" "$folder.unfinished" || return 1
  done
  # Leads to a loader that is not there; the one of this machine takes its place below.
  rm -rf "$folder.unfinished"/usr/lib/*/libvulkan.so
  rm -rf "$folder" && mv "$folder.unfinished" "$folder"
}

new_enough "$folder/usr" || download || without "its headers could not be had (the reason is above)."
mkdir -p "$folder/usr/lib"
ln -sfn "$loader" "$folder/usr/lib/libvulkan.so"
echo GGML_VULKAN=ON
echo "CMAKE_PREFIX_PATH=$folder/usr"
