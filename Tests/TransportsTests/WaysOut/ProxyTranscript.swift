import Pipeline

@testable import Transports

/// What was said to a far proxy, and how it ended.
struct ProxyTranscript: Equatable {
  var sent: [[UInt8]] = []
  /// "open", "wants more", or the rejection.
  var end = ""
  /// Behind the proxy's last word, where the way is open.
  var rest: [UInt8] = []

  /// Runs a handshake against a proxy whose bytes come in these pieces. Of a piece that is longer than what the handshake
  /// wants to read, the rest comes with the next read.
  init(_ handshake: some ProxyHandshake, _ pieces: [[UInt8]]) {
    var handshake = handshake
    var pieces = pieces.filter { !$0.isEmpty }[...]
    while true {
      switch handshake.advance() {
      case .send(let message): sent.append(message)
      case .read(let limit):
        precondition(limit >= 1, "a read of nothing")
        guard var piece = pieces.popFirst() else {
          end = "wants more"
          return
        }
        if piece.count > limit {
          pieces = [Array(piece.dropFirst(limit))] + pieces
          piece = Array(piece.prefix(limit))
        }
        handshake.receive(piece.span)
      case .open:
        end = "open"
        rest = handshake.takeRest() + pieces.joined()
        return
      case .refused(let rejection):
        end = "refused \(rejection.kind) \(rejection.source) \(rejection.retry): \(rejection.detail)"
        return
      case .failed(let rejection):
        end = "failed \(rejection.kind) \(rejection.source) \(rejection.retry): \(rejection.detail)"
        return
      }
    }
  }

  /// As `init(_:_:)`, in pieces of one size.
  init(_ handshake: some ProxyHandshake, _ bytes: [UInt8], size: Int) {
    let pieces = stride(from: 0, to: bytes.count, by: size).map { Array(bytes[$0..<min($0 + size, bytes.count)]) }
    self.init(handshake, pieces)
  }
}
