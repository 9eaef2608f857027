import sys

for _ in range(50_000):
    sys.stderr.write("x" * 1000)
sys.stderr.write("\nthe last words\n")
sys.exit(7)
