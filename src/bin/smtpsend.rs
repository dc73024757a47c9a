//! `smtpsend`: see [`applayer::tool::smtpsend`].

fn main() -> std::process::ExitCode {
    applayer::tool::smtpsend::main()
}
