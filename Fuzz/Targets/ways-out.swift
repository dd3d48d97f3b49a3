import Pipeline

@testable import Transports

/// What far proxies answer, SOCKS5 and HTTP CONNECT: the same in whatever pieces, at an end in few steps; nothing is said but
/// our own messages; and what the destination sends behind the proxy's last word is kept to the byte.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  for target in targets {
    for credentials in [nil, login] {
      check(SOCKS5ClientHandshake(target, credentials: credentials), bytes, messages: 3)
    }
    check(HTTPConnectHandshake(target, authorization: nil), bytes, messages: 1)
  }
  return 0
}

private let login = PasswordCredentials(user: "user", password: "password")
private let targets: [ProxyTarget] = [
  .address(.loopbackV4, port: 443), DomainName("example.com").map { .name($0, port: 80) },
].compactMap { $0 }

private func check(_ handshake: some ProxyHandshake, _ bytes: [UInt8], messages: Int) {
  let whole = ProxyTranscript(handshake, [bytes])
  Fuzzing.expectSame(whole, ProxyTranscript(handshake, Fuzzing.pieces(bytes)), "handshake")
  if bytes.count < 200 { Fuzzing.expectSame(whole, ProxyTranscript(handshake, bytes.map { [$0] }), "handshake") }
  Fuzzing.expect(whole.sent.count <= messages, "\(whole.sent.count) messages")
  Fuzzing.expect(bytes.suffix(whole.rest.count) == whole.rest[...], "a rest that was not sent")
  Fuzzing.expect(whole.end == "open" || whole.rest.isEmpty, "a rest without a way")
}
