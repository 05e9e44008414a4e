"""`python -m maseg_nnunet` is `maseg`."""

from maseg_nnunet.cli.main import main

main()
