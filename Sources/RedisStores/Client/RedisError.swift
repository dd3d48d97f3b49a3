/// Why a command has no answer.
public enum RedisError: Error, Hashable, Sendable {
  /// The server answered with an error.
  case server(RESPError)
  /// No answer within the command's time. It may have run.
  case timeout(Duration)
  /// There is no connection to this node, and why; known without waiting. It has not run.
  case unreachable(node: String, String)
  /// The connection ended while the answer was awaited. It may have run.
  case connectionLost(node: String, String)
  /// So many commands await their answers already. It has not run.
  case pipelineFull(limit: Int)
  /// The server's bytes are no RESP. It may have run.
  case malformed(RESPFault)
  /// No node is known to serve the key, or the cluster sent the command from node to node.
  case cluster(String)
  /// The answer is of another kind than the command's: who answers is no Redis, or one with other commands.
  case unexpectedReply(command: String, String)
  /// Nobody runs ``RedisClient/run(_:)``, which opens the connections.
  case notRunning
  /// The client was closed.
  case closed
  /// The task that waited was cancelled. It may have run.
  case cancelled
}

extension RedisError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .server(let error): "the server said \(error)"
    case .timeout(let limit): "no answer within \(limit)"
    case .unreachable(let node, let why): "no connection to \(node): \(why)"
    case .connectionLost(let node, let why): "the connection to \(node) was lost: \(why)"
    case .pipelineFull(let limit): "\(limit) commands await their answers, which is the limit (maxPipelined)"
    case .malformed(let fault): "the answer is malformed: \(fault)"
    case .cluster(let why): "cluster: \(why)"
    case .unexpectedReply(let command, let kind): "\(command) was answered with \(kind)"
    case .notRunning: "the client's run(_:) is not running"
    case .closed: "the client is closed"
    case .cancelled: "the task that waited was cancelled"
    }
  }

  /// Whether the server may have done what it was asked.
  public var mayHaveRun: Bool {
    switch self {
    case .timeout, .connectionLost, .malformed, .unexpectedReply, .cancelled: true
    case .server, .unreachable, .pipelineFull, .cluster, .notRunning, .closed: false
    }
  }
}
