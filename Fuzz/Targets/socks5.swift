import Pipeline

@testable import Transports

/// A SOCKS5 handshake towards each goal that a chain may have: the same in whatever pieces, at an end in few steps, and
/// never a byte to the client that is not a message.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let refusal = SOCKS5Handshake.Goal.refusal(.init(.forbidden, isAuthenticated: false))
  let paths: [[SOCKS5Handshake.Goal]] = [
    [.destination, .open(bound: nil)], [.credentials, .destination, .open(bound: nil)], [.credentials, refusal],
    [.destination, refusal], [refusal],
  ]
  for goals in paths {
    let whole = HandshakeTranscript(bytes, goals: goals)
    let cut = HandshakeTranscript(Fuzzing.pieces(bytes), goals: goals)
    Fuzzing.expectSame(whole, cut, "handshake")
    Fuzzing.expect(cut.steps <= 2 * bytes.count + 40, "\(cut.steps) steps for \(bytes.count) bytes")
    Fuzzing.expect(whole.sent.count <= 2 + 2 + 22, "\(whole.sent.count) bytes were sent")
    Fuzzing.expect(whole.sent.isEmpty || whole.sent[0] == 5, "a first byte of \(whole.sent[0])")
  }
  return 0
}
