internal import Middlewares

/// What one scrypt hash costs (RFC 7914, 2): memory is 128 · 2^log2N · blockSize bytes, time grows with all three.
public struct ScryptCost: Hashable, Sendable, CustomStringConvertible {
  /// Bytes that one verification may use; a hash that needs more is refused, so that a user file cannot exhaust the
  /// machine.
  public static let memoryLimit = 128 << 20

  /// 4...20. The binary logarithm of N.
  public let log2N: Int
  /// 1...32. Called r.
  public let blockSize: Int
  /// 1...16. Called p.
  public let parallelism: Int

  /// 16 MiB, about 50 ms: for logins that wait (N = 2^14, r = 8, p = 1).
  public static let standard = ScryptCost(log2N: 14, blockSize: 8, parallelism: 1)

  /// Creates a cost; one that is out of bounds stops the program with a sentence that names it.
  public init(log2N: Int, blockSize: Int = 8, parallelism: Int = 1) {
    do {
      self = try ScryptCost(checking: log2N, blockSize, parallelism)
    } catch {
      preconditionFailure("\(error)")
    }
  }

  init(checking log2N: Int, _ blockSize: Int, _ parallelism: Int) throws {
    func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws {
      guard range.contains(value) else {
        throw PasswordHashError(
          "\(name)=\(value) is out of bounds: \(range.lowerBound)...\(range.upperBound) is allowed")
      }
    }
    try check("ln", log2N, 4...20)
    try check("r", blockSize, 1...32)
    try check("p", parallelism, 1...16)
    let memory = (128 * blockSize) << log2N
    guard memory <= Self.memoryLimit else {
      throw PasswordHashError(
        "ln=\(log2N),r=\(blockSize) needs \(memory >> 20) MiB for one login: at most \(Self.memoryLimit >> 20) MiB is allowed"
      )
    }
    self.log2N = log2N
    self.blockSize = blockSize
    self.parallelism = parallelism
  }

  public var description: String { "ln=\(log2N),r=\(blockSize),p=\(parallelism)" }
}
