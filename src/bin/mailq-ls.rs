//! `mailq-ls`: see [`applayer::tool::mailq_ls`].

fn main() -> std::process::ExitCode {
    applayer::tool::mailq_ls::main()
}
