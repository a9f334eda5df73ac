/* fake.h - puts a function of a library, or of a module, out of the way of all its callers, for one test.
 *
 * FAKE(type, function, (parameters)) stands before the body that takes its place; the function itself is
 * __real_function. It is the linker that does it, for the whole program: the Makefile reads these lines in a test and
 * in the headers of tests/ that it includes. So a line begins with FAKE, and type and function are on it.
 */
#ifndef TESTS_RIG_FAKE_H
#define TESTS_RIG_FAKE_H

#define FAKE(type, function, ...)                                                                  \
    type __real_##function __VA_ARGS__;                                                            \
    type __wrap_##function __VA_ARGS__;                                                            \
    type __wrap_##function __VA_ARGS__

/* The call itself, but `result` when `when` holds. */
#define FAKE_WHEN(type, function, parameters, arguments, when, result)                             \
    FAKE(type, function, parameters)                                                               \
    {                                                                                              \
        return (when) ? result : __real_##function arguments;                                      \
    }

#endif
