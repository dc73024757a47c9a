//! `mailq-edit`: see [`applayer::tool::mailq_edit`].

fn main() -> std::process::ExitCode {
    applayer::tool::mailq_edit::main()
}
