//! `ftpget`: see [`applayer::tool::ftpget`].

fn main() -> std::process::ExitCode {
    applayer::tool::ftpget::main()
}
