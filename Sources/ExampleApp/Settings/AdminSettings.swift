import Glibc
import Pipeline

/// Where the admin socket is: `--admin PATH|off`.
enum AdminSettings {
  static let flag = Flag.value(
    "admin", "PATH|off",
    "the admin socket, for its owner alone (default: sluice.sock in $XDG_RUNTIME_DIR, or in /tmp/sluice-UID)")

  static let httpFlags: [Flag] = [
    .value(
      "admin-http", "ADDR|off", "metrics, health checks and upstreams for whoever can connect",
      default: "127.0.0.1:9901"),
    .list(
      "admin-http-host", "NAME",
      "a host that requests to --admin-http may be for, besides addresses and localhost; may be given more than once"),
  ]

  /// Where the admin listener on TCP is; `nil`: off.
  static func http(_ flags: ParsedFlags) throws -> AdminListener.Place? {
    let names = flags.all("admin-http-host")
    for name in names where DomainName(name) == nil {
      throw SettingsError("--admin-http-host", value: name, allowed: "the name of a host")
    }
    let text = flags.text("admin-http") ?? "off"
    if text == "off" { return nil }
    guard let address = SocketAddress(text), case .ip = address else {
      throw SettingsError(
        "--admin-http", value: text, allowed: "1.2.3.4:9901, [::1]:9901, :9901, localhost:9901 or off")
    }
    return .http(address, names: names)
  }

  /// What is said where others than this machine can ask.
  static func warning(about place: AdminListener.Place?) -> String? {
    guard case .http(let address, names: _)? = place, !address.isLocal else { return nil }
    return
      "--admin-http \(address): everybody who can connect sees metrics and clients' addresses, and can drain upstreams"
  }

  /// The path; `nil`: off.
  ///
  /// - Parameter makesDirectory: whether the default directory is made where it is not there.
  /// - Throws: ``SettingsError`` for a path that is too long for a socket, or a default directory that others could reach.
  static func path(_ flags: ParsedFlags, makesDirectory: Bool) throws -> String? {
    try path(flags.text("admin"), makesDirectory: makesDirectory)
  }

  /// The same of a text that was given elsewhere; `nil`: none was.
  static func path(_ text: String?, makesDirectory: Bool) throws -> String? {
    if let text {
      if text == "off" { return nil }
      guard SocketAddress("unix:\(text)") != nil else {
        throw SettingsError(
          "--admin", value: text, allowed: "a path of 1 to 107 bytes for a socket, or off")
      }
      return text
    }
    return try standardPath(makesDirectory: makesDirectory)
  }

  private static func standardPath(makesDirectory: Bool) throws -> String {
    // The specification wants an absolute path, and others ignored.
    if let directory = environment("XDG_RUNTIME_DIR"), directory.hasPrefix("/") {
      let path = "\(directory)/sluice.sock"
      guard SocketAddress("unix:\(path)") != nil else {
        throw SettingsError("XDG_RUNTIME_DIR is too long for a socket; name one with --admin PATH, or say --admin off")
      }
      return path
    }
    let directory = "/tmp/sluice-\(geteuid())"
    try checkPrivate(directory, makesIt: makesDirectory)
    return "\(directory)/sluice.sock"
  }

  /// Everybody may make a directory of this name in /tmp before us: it has to be ours, and ours alone.
  private static func checkPrivate(_ directory: String, makesIt: Bool) throws {
    if makesIt, mkdir(directory, 0o700) != 0, errno != EEXIST {
      throw SettingsError(
        "the directory \(directory) of the admin socket cannot be made: \(String(cString: strerror(errno)))")
    }
    var status = stat()
    guard lstat(directory, &status) == 0 else {
      // A command looks for a server: without the directory there is none.
      if errno == ENOENT, !makesIt { return }
      throw SettingsError(
        "the directory \(directory) of the admin socket cannot be read: \(String(cString: strerror(errno)))")
    }
    guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
      throw SettingsError(
        "the directory \(directory) of the admin socket belongs to somebody else, or others can reach it; "
          + "name another socket with --admin PATH, or say --admin off")
    }
  }
}

/// A variable of the environment that is set and not empty.
func environment(_ name: String) -> String? {
  guard let value = getenv(name) else { return nil }
  let text = String(cString: value)
  return text.isEmpty ? nil : text
}
