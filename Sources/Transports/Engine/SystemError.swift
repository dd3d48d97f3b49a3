internal import Glibc

/// A failed system call: which, and the errno value.
struct SystemError: Error, Equatable, CustomStringConvertible {
  var call: String
  var code: Int32

  init(_ call: String, _ code: Int32) {
    self.call = call
    self.code = code
  }

  var description: String { "\(call): \(String(cString: strerror(code)))" }
}
