//! `ftpdo`: see [`applayer::tool::ftpdo`].

fn main() -> std::process::ExitCode {
    applayer::tool::ftpdo::main()
}
