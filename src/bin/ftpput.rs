//! `ftpput`: see [`applayer::tool::ftpput`].

fn main() -> std::process::ExitCode {
    applayer::tool::ftpput::main()
}
