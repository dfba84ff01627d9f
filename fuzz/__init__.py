"""A fuzzer's way into everything of the package that reads bytes from outside."""
