//! Tells the linker where the program finds llama.cpp's libraries: in its own folder, wherever that is moved to.
//!
//! `inference/build.rs` puts them there.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family.contains("unix")) {
        let origin = if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "macos") {
            "@executable_path"
        } else {
            "$ORIGIN"
        };
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{origin}");
    }
}

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
