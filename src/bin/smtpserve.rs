//! `smtpserve`: see [`applayer::tool::smtpserve`].

fn main() -> std::process::ExitCode {
    applayer::tool::smtpserve::main()
}
