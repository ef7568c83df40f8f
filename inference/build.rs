//! Puts llama.cpp's libraries where the program finds them: beside it.
//!
//! `llama-cpp-sys-2` leaves two kinds of shared libraries in its own build folder: those the program is linked to, which
//! it asks for by names like `libllama.so.0`, and the modules with the processor code, one per generation of
//! processors, of which the worker loads the best, and those that drive GPUs. This script copies the first kind into the profile folder (where
//! cargo puts programs) and the second into `backends` there, removes what an older build left, and gives the tests of
//! this package a way to find both. Nothing is compiled here.
//!
//! Fails the build with a sentence where the result could only be slow or broken.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    find_libraries_from_tests();

    // Handed over by llama-cpp-sys-2 to packages that depend on it directly.
    let modules_dir = PathBuf::from(
        env::var("DEP_LLAMA_BACKENDS_DIR")
            .map_err(|_| "llama-cpp-sys-2 was built without its feature `dynamic-backends`")?,
    );
    let llama_dir = modules_dir
        .parent()
        .ok_or("the folder of llama.cpp's build is unknown")?;
    refuse_silent_slowness(llama_dir)?;
    let profile_dir = profile_dir()?;

    let compiler = Compiler::of(llama_dir);
    let modules = modules(&modules_dir, &compiler)?;
    // What drives GPUs lies apart: only workers that want one load it.
    let (processor, gpu): (Vec<_>, Vec<_>) = modules
        .into_iter()
        .partition(|module| file_name(module).contains("ggml-cpu"));
    let backends = profile_dir.join("backends");
    mirror(&processor, &backends, |_| true)?;
    mirror(&gpu, &backends.join("gpu"), |_| true)?;
    mirror(&onnxruntime()?, &backends.join("onnx"), |_| true)?;
    mirror(&libraries(llama_dir)?, &profile_dir, is_library_of_llama)?;
    remove_dangling_links(&profile_dir);
    link_for_tests(&profile_dir)
}

/// Test programs lie one folder below the libraries, and those that act as a worker run without cargo's help.
fn find_libraries_from_tests() {
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("windows") => {}
        Ok("macos") => println!("cargo:rustc-link-arg-tests=-Wl,-rpath,@executable_path/.."),
        _ => println!("cargo:rustc-link-arg-tests=-Wl,-rpath,$ORIGIN/.."),
    }
}

/// llama.cpp's build can lose its SIMD instructions without a word, and every answer then takes several times as long.
///
/// `SOURCE_DATE_EPOCH`, which packagers set, does that to builds with a single variant. Builds with all variants, as
/// here, give each its own flags and keep them; this looks at what the compiler was really told.
fn refuse_silent_slowness(llama_dir: &Path) -> Result<()> {
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return Ok(());
    }
    let commands =
        fs::read_to_string(llama_dir.join("build/compile_commands.json")).unwrap_or_default();
    let is_slow = |command: &&str| command.contains(AVX2_VARIANT) && !command.contains(AVX2_FLAG);
    match commands.lines().filter(|line| line.contains("\"command\"")).find(is_slow) {
        None => Ok(()),
        Some(_) => Err("llama.cpp was compiled without SIMD instructions. Unset SOURCE_DATE_EPOCH, CFLAGS and CXXFLAGS, \
                        run `cargo clean -p llama-cpp-sys-2`, and build again"
            .into()),
    }
}

/// `OUT_DIR` is `<profile>/build/<package>-<hash>/out`.
fn profile_dir() -> Result<PathBuf> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    Ok(out_dir
        .ancestors()
        .nth(3)
        .ok_or("OUT_DIR is not inside a target folder")?
        .to_owned())
}

/// The modules to ship.
///
/// GCC before 13 tells its optimiser that setting up the AMX tiles reads 8 bytes where it reads 64; the rest is dropped
/// and the first instruction of `sapphirerapids` that uses a tile ends the process. Such machines then take the next
/// best, `zen4` or `icelake`. Clang and newer GCC are fine.
fn modules(dir: &Path, compiler: &Compiler) -> Result<Vec<PathBuf>> {
    let mut modules = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))? {
        let path = entry?.path();
        let name = file_name(&path);
        if !name.starts_with(MODULE_PREFIX) || !name.ends_with(MODULE_SUFFIX) {
            continue;
        }
        if name.contains(AMX_VARIANT) && compiler.breaks_amx() {
            continue;
        }
        modules.push(path);
    }
    let has_processor_code = modules
        .iter()
        .any(|module| file_name(module).contains("ggml-cpu"));
    if !has_processor_code {
        return Err(format!(
            "llama.cpp's build left no processor code in {}",
            dir.display()
        )
        .into());
    }
    Ok(modules)
}

/// onnxruntime, which computes some embedders faster: where it was fetched (`packaging/onnxruntime.sh`).
fn onnxruntime() -> Result<Vec<PathBuf>> {
    const PLACE: &str = "SATCHEL_ONNXRUNTIME";
    println!("cargo:rerun-if-env-changed={PLACE}");
    match env::var_os(PLACE).filter(|path| !path.is_empty()) {
        None => Ok(Vec::new()),
        Some(path) if Path::new(&path).is_file() => Ok(vec![path.into()]),
        Some(path) => Err(format!("{PLACE} names a file that is not there: {path:?}").into()),
    }
}

/// The libraries that the program is linked to, by the names it asks for: on Linux `lib….so.<one number>`.
fn libraries(llama_dir: &Path) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for dir in ["lib", "lib64", "bin", "build/bin"].map(|dir| llama_dir.join(dir)) {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            let known = libraries
                .iter()
                .any(|known: &PathBuf| known.file_name() == path.file_name());
            if is_library_of_llama(&file_name(&path)) && path.exists() && !known {
                libraries.push(path);
            }
        }
    }
    for needed in ["llama", "ggml"] {
        if !libraries
            .iter()
            .any(|library| file_name(library).contains(needed))
        {
            return Err(format!(
                "llama.cpp's build left no library {needed} in {}",
                llama_dir.display()
            )
            .into());
        }
    }
    Ok(libraries)
}

fn is_library_of_llama(name: &str) -> bool {
    let Some(stem) = LIBRARY_STEMS
        .iter()
        .find_map(|stem| name.strip_prefix(stem))
    else {
        return false;
    };
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("windows") => stem == ".dll",
        Ok("macos") => is_version(
            stem.strip_prefix('.')
                .and_then(|rest| rest.strip_suffix(".dylib")),
        ),
        _ => is_version(stem.strip_prefix(".so.")),
    }
}

fn is_version(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Makes `to` hold exactly these files, among those that `ours` recognises.
///
/// Files get the time of their source: then cargo, which compares times, sees a copy that was deleted or replaced, and
/// does not take our own copies for a change.
fn mirror(sources: &[PathBuf], to: &Path, ours: fn(&str) -> bool) -> Result<()> {
    fs::create_dir_all(to)?;
    let wanted: BTreeSet<String> = sources.iter().map(|source| file_name(source)).collect();
    for entry in fs::read_dir(to)? {
        let path = entry?.path();
        let name = file_name(&path);
        if ours(&name) && !wanted.contains(&name) && !path.is_dir() {
            fs::remove_file(&path)?;
        }
    }
    for source in sources {
        let copy = to.join(file_name(source));
        replace_by_copy(source, &copy).map_err(|error| format!("{}: {error}", copy.display()))?;
        println!("cargo:rerun-if-changed={}", copy.display());
    }
    Ok(())
}

/// A running program may have the old file mapped, so the new one takes its name instead of its content.
#[allow(
    clippy::disallowed_methods,
    reason = "what a build leaves need not survive a power cut"
)]
fn replace_by_copy(source: &Path, copy: &Path) -> io::Result<()> {
    let modified = fs::metadata(source)?.modified()?;
    let fresh = copy.with_extension("fresh");
    remove_if_there(&fresh)?;
    fs::copy(source, &fresh)?;
    File::options()
        .write(true)
        .open(&fresh)?
        .set_modified(modified)?;
    fs::rename(&fresh, copy)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `llama-cpp-sys-2` leaves links like `libllama.so` that lead nowhere, and stumbles over them when it is built again.
fn remove_dangling_links(profile_dir: &Path) {
    for dir in [
        profile_dir.to_owned(),
        profile_dir.join("deps"),
        profile_dir.join("examples"),
    ] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_ours = LIBRARY_STEMS
                .iter()
                .any(|stem| file_name(&path).starts_with(stem));
            if is_ours && path.is_symlink() && !path.exists() {
                // Its owner makes it again.
                fs::remove_file(&path).ok();
            }
        }
    }
}

/// A test that acts as a worker looks for `backends` beside itself, which is in `deps`.
fn link_for_tests(profile_dir: &Path) -> Result<()> {
    let link = profile_dir.join("deps").join("backends");
    fs::create_dir_all(profile_dir.join("deps"))?;
    #[cfg(unix)]
    if !link.exists() {
        remove_if_there(&link)?;
        std::os::unix::fs::symlink("../backends", &link)?;
    }
    #[cfg(not(unix))]
    if !link.exists() {
        println!(
            "cargo:warning=tests with a real model need a copy of `backends` at {}",
            link.display()
        );
    }
    Ok(())
}

/// The C++ compiler that built llama.cpp, as its build wrote it down.
struct Compiler {
    id: String,
    major_version: Option<u32>,
}

impl Compiler {
    fn of(llama_dir: &Path) -> Self {
        let notes = fs::read_dir(llama_dir.join("build/CMakeFiles"))
            .into_iter()
            .flatten()
            .flatten()
            .find_map(|entry| fs::read_to_string(entry.path().join("CMakeCXXCompiler.cmake")).ok())
            .unwrap_or_default();
        let value = |name: &str| {
            let line = notes
                .lines()
                .find_map(|line| line.strip_prefix(&format!("set({name} \"")))?;
            line.split('"').next().map(str::to_owned)
        };
        let version = value("CMAKE_CXX_COMPILER_VERSION").unwrap_or_default();
        Self {
            id: value("CMAKE_CXX_COMPILER_ID").unwrap_or_default(),
            major_version: version
                .split('.')
                .next()
                .and_then(|major| major.parse().ok()),
        }
    }

    /// Where the compiler is not known, the safe answer is the slower one.
    fn breaks_amx(&self) -> bool {
        match self.id.as_str() {
            "GNU" => self
                .major_version
                .is_none_or(|major| major < FIRST_GCC_WITH_SOUND_AMX),
            id => id.is_empty(),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

const MODULE_PREFIX: &str = if cfg!(windows) { "ggml-" } else { "libggml-" };
/// llama.cpp names its modules `.so` on macOS too.
const MODULE_SUFFIX: &str = if cfg!(windows) { ".dll" } else { ".so" };
const AMX_VARIANT: &str = "ggml-cpu-sapphirerapids";
const AVX2_VARIANT: &str = "ggml-cpu-haswell.dir";
const AVX2_FLAG: &str = "-mavx2";
const FIRST_GCC_WITH_SOUND_AMX: u32 = 13;
const LIBRARY_STEMS: [&str; 8] = [
    "libllama-common",
    "libllama",
    "libggml-base",
    "libggml",
    "llama-common",
    "llama",
    "ggml-base",
    "ggml",
];

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
