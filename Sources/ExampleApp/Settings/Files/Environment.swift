import Glibc

/// The environment of the process; tests give one of their own.
struct Environment: Sendable {
  let value: @Sendable (String) -> String?
  /// The names that are set.
  var names: @Sendable () -> [String] = { [] }

  static let process = Environment(
    value: { name in getenv(name).map { String(cString: $0) } },
    names: {
      // The names themselves cannot be asked for with getenv. Without /proc nobody is told of a slip of the pen, and nothing
      // else depends on it.
      let bytes: [UInt8]
      do {
        bytes = try SettingsFile.bytes("/proc/self/environ") ?? []
      } catch {
        return []
      }
      return bytes.split(separator: 0).map { String(decoding: $0.prefix { $0 != UInt8(ascii: "=") }, as: UTF8.self) }
    })
}
