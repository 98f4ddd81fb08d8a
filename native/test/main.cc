#include "check.h"

// Of the test programs that have no other.
int main(int argc, char** argv) { return skein::test::RunAll(argc, argv); }
