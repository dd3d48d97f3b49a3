internal import Pipeline

/// The text of a user file: one user a line, `name:hash` or `name:hash:role,role`.
///
/// Empty lines and lines that begin with `#` are skipped. A `!` in front of the hash blocks the user, as in shadow(5).
/// This reads text only: where it comes from, and that nobody else may read the file, is the caller's business.
public enum UserFile {
  /// Reads the text.
  ///
  /// - Parameter file: its name, for the errors.
  /// - Throws: ``UserFileError`` with every line that is wrong.
  public static func parse(_ text: String, file: String, verifier: any PasswordVerifier) throws -> [UserTable.User] {
    var users: [UserTable.User] = []
    var lines: [[UInt8]: Int] = [:]
    var problems: [String] = []
    for (index, whole) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      let line = trimmed(whole)
      guard let first = line.first, first != "#" else { continue }
      do {
        let user = try user(from: line, verifier: verifier)
        if let earlier = lines.updateValue(index + 1, forKey: Array(user.name.utf8)) {
          throw UserError("user \"\(user.name)\" stands in line \(earlier) already: a name is allowed once")
        }
        users.append(user)
      } catch {
        problems.append("\(file):\(index + 1): \(error)")
      }
    }
    guard problems.isEmpty else { throw UserFileError(messages: problems) }
    return users
  }

  /// The line of a user, as ``parse(_:file:verifier:)`` reads it.
  public static func line(for user: UserTable.User) -> String {
    let hash = (user.isBlocked ? "!" : "") + user.passwordHash.text.reveal()
    let fields = [user.name, hash] + (user.roles.isEmpty ? [] : [user.roles.sorted().joined(separator: ",")])
    return fields.joined(separator: ":")
  }

  /// The text with this user's line: in the place of the one that had the name, or at the end. All other lines, comments
  /// included, stay as they are.
  public static func text(_ text: String, setting user: UserTable.User) -> String {
    var lines = lines(of: text)
    if let index = lines.firstIndex(where: { isLine($0, of: user.name) }) {
      lines[index] = line(for: user) + end(of: lines[index])
    } else {
      // The last line of a file may lack its end.
      if let last = lines.last, end(of: last).isEmpty { lines[lines.count - 1] += "\n" }
      lines.append(line(for: user) + "\n")
    }
    return lines.joined()
  }

  /// The text without the line of this name; `nil` when there is none.
  public static func text(_ text: String, removing name: String) -> String? {
    var lines = lines(of: text)
    guard let index = lines.firstIndex(where: { isLine($0, of: name) }) else { return nil }
    lines.remove(at: index)
    return lines.joined()
  }

  /// Each with its end.
  private static func lines(of text: String) -> [String] {
    var lines: [String] = []
    var line = ""
    for character in text {
      line.append(character)
      guard character.isNewline else { continue }
      lines.append(line)
      line = ""
    }
    if !line.isEmpty { lines.append(line) }
    return lines
  }

  private static func end(of line: String) -> String { line.last.flatMap { $0.isNewline ? String($0) : nil } ?? "" }

  private static func isLine(_ line: String, of name: String) -> Bool {
    let line = trimmed(line.last?.isNewline == true ? line.dropLast() : line[...])
    guard let first = line.first, first != "#" else { return false }
    // Byte by byte: two spellings of one accent are two names.
    return line.prefix { $0 != ":" }.utf8.elementsEqual(name.utf8)
  }

  private static func trimmed(_ line: Substring) -> Substring {
    func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" }
    let line = line.drop(while: isBlank)
    guard let last = line.lastIndex(where: { !isBlank($0) }) else { return line[line.endIndex...] }
    return line[...last]
  }

  private static func user(from line: Substring, verifier: any PasswordVerifier) throws -> UserTable.User {
    let fields = line.split(separator: ":", omittingEmptySubsequences: false)
    // The line is not quoted: somebody may have written a plain password.
    guard (2...3).contains(fields.count) else {
      throw UserError("a line reads name:hash or name:hash:role,role, and this one has \(fields.count) fields")
    }
    let name = String(fields[0])
    try UserTable.User.check(name: name)
    let isBlocked = fields[1].hasPrefix("!")
    let hash = PasswordHash(String(isBlocked ? fields[1].dropFirst() : fields[1]))
    do {
      try verifier.check(hash)
    } catch {
      throw UserError("user \"\(name)\": \(error)")
    }
    var roles: Set<String> = []
    if fields.count == 3, !fields[2].isEmpty {
      for role in fields[2].split(separator: ",", omittingEmptySubsequences: false) {
        try UserTable.User.check(role: String(role), of: name)
        roles.insert(String(role))
      }
    }
    return UserTable.User(name: name, passwordHash: hash, roles: roles, isBlocked: isBlocked)
  }
}

/// Every line of a user file that is wrong: file, line, value, and what is allowed.
public struct UserFileError: Error, Hashable, CustomStringConvertible {
  public let messages: [String]

  public init(messages: [String]) { self.messages = messages }

  public var description: String { messages.joined(separator: "\n") }
}
