internal import Pipeline

/// What a node of a cluster says when a command is not for it, or not now.
enum Redirection: Hashable, Sendable {
  /// The slot has moved for good.
  case moved(HashSlot, RedisURL.Node)
  /// This one key is on its way; ask there once, after ASKING.
  case ask(RedisURL.Node)
  /// Keys of the command are in two places at present.
  case tryAgain
  /// The cluster does not serve the slot at present.
  case down

  /// - Parameter asked: who said so. It is meant where no host is named (Redis 7, unknown endpoints).
  init?(_ error: RESPError, from asked: RedisURL.Node) {
    switch error.code {
    case "TRYAGAIN": self = .tryAgain
    case "CLUSTERDOWN": self = .down
    case "MOVED", "ASK":
      let words = error.message.split(separator: " ")
      guard words.count >= 2, let slot = UInt16(words[0]), Int(slot) < HashSlot.count,
        let node = Self.node(String(words[1]), asked)
      else { return nil }
      self = error.code == "MOVED" ? .moved(HashSlot(number: slot), node) : .ask(node)
    default: return nil
    }
  }

  private static func node(_ text: String, _ asked: RedisURL.Node) -> RedisURL.Node? {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port != 0 else {
      return nil
    }
    return ClusterMap.node(host: String(text[..<colon]), port: port, asked)
  }
}
