// Tells the Thread sanitizer about the slow path of the standard library's Mutex.
//
// The fast path is inlined into the code that is checked, so the sanitizer sees it. The slow path, taken under contention,
// lives in libswiftSynchronization, which is not built with the sanitizer: without these two calls every lock that was ever
// waited for is reported as a race. Preloaded by Scripts/sanitize; it changes nothing but what the sanitizer knows.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
void __tsan_acquire(void *) __attribute__((weak));
void __tsan_release(void *) __attribute__((weak));
// The names and the calling convention are those of Swift 6.3's `_MutexHandle`.
typedef void (*lock_slow)(uint32_t, void *self __attribute__((swift_context))) __attribute__((swiftcall));
typedef void (*unlock_slow)(void *self __attribute__((swift_context))) __attribute__((swiftcall));
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"
__attribute__((swiftcall)) void sluice_lock_slow(uint32_t thread, void *self __attribute__((swift_context))) __asm__(LOCK);
__attribute__((swiftcall)) void sluice_unlock_slow(void *self __attribute__((swift_context))) __asm__(UNLOCK);
__attribute__((swiftcall)) void sluice_lock_slow(uint32_t thread, void *self __attribute__((swift_context))) {
  ((lock_slow)dlsym(RTLD_NEXT, LOCK))(thread, self);
  if (__tsan_acquire) __tsan_acquire(self);
}
__attribute__((swiftcall)) void sluice_unlock_slow(void *self __attribute__((swift_context))) {
  if (__tsan_release) __tsan_release(self);
  ((unlock_slow)dlsym(RTLD_NEXT, UNLOCK))(self);
}
