//! `mailq-run`: see [`applayer::tool::mailq_run`].

fn main() -> std::process::ExitCode {
    applayer::tool::mailq_run::main()
}
