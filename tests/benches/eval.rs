//! `make eval`: prints how well Satchel searches, answers and refuses. The work is in `satchel_tests::eval`.

fn main() {
    let runtime = satchel_app::backend::runtime::build().expect("threads");
    println!("{}", runtime.block_on(satchel_tests::eval::evaluate()));
}
