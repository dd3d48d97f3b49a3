#pragma once
#include <sqlite3.h>

// SQLITE_TRANSIENT is a cast of -1, which Swift does not import: the bytes are copied before this returns.
static inline int csqlite_bind_text(sqlite3_stmt *statement, int index, const char *bytes, int count) {
  return sqlite3_bind_text(statement, index, bytes, count, SQLITE_TRANSIENT);
}
