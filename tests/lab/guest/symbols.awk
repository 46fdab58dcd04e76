# SPDX-License-Identifier: Apache-2.0
# Names the addresses in the second file that lie in a module which is gone, by the symbols in the first:
# sorted lines of /proc/kallsyms. Addresses are compared as text, having all the same number of digits.

FILENAME == ARGV[1] {
	address[++count] = $1
	name[count] = $3
	next
}

match($0, /0xffffffff[0-9a-f]+/) {
	wanted = substr($0, RSTART + 2, RLENGTH - 2)
	for (i = count; i > 0 && address[i] > wanted; i--)
		continue
	if (i > 0 && i < count)
		$0 = $0 " " name[i] " [graft]"
}

{
	print
}
