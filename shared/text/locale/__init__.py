"""The words of libraries in Chinese, as gettext catalogues: `.po` is written by people, `.mo` is made from it."""
