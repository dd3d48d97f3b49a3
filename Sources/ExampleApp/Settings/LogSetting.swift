import Middlewares

/// How exchanges are logged: `--log off|text|json`.
enum LogSetting: String, CaseIterable {
  case off, text, json

  var format: AccessLog.Format? {
    switch self {
    case .off: nil
    case .text: .text
    case .json: .json
    }
  }
}
