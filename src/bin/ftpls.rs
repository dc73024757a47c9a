//! `ftpls`: see [`applayer::tool::ftpls`].

fn main() -> std::process::ExitCode {
    applayer::tool::ftpls::main()
}
