//! `ftpserve`: see [`applayer::tool::ftpserve`].

fn main() -> std::process::ExitCode {
    applayer::tool::ftpserve::main()
}
