//! `mailread`: see [`applayer::tool::mailread`].

fn main() -> std::process::ExitCode {
    applayer::tool::mailread::main()
}
