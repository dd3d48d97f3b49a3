import CompilerChecks
import Testing

/// What the compiler says of `Files` on a transport that is not HTTP.
struct FilesDiagnosticsTests {
  @Test func filesAreForHTTPAlone() async throws {
    let checks = CompilerChecks(prelude: "import Pipeline\nimport Transports")
    let sentence =
      "2:3: 'buildExpression' is unavailable: this destination speaks HTTP: use it in a Listener(.http, ...)"
    let mistakes = ["tcp", "socks5"].map { transport in
      Mistake(
        transport, "_ = Listener(.\(transport), on: \":1\") { } to: {\n  Files(\"/srv/www\")\n}", sentence)
    }
    let right = Mistake("http", "_ = Listener(.http, on: \":1\") { } to: {\n  Files(\"/srv/www\")\n}")
    let errors = try await checks.errors(of: mistakes + [right])
    #expect(errors == ["tcp": [sentence], "socks5": [sentence]])
  }
}
