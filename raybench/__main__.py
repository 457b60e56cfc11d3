"""`python -m raybench`: the same as the command `raybench`, by the interpreter that is named."""

from raybench.cli.main import main

if __name__ == "__main__":
    main()
