# libpdtp(3) out of include/pdtp.h: the manual at its head, and a line for each function.
#
#   awk -v version=0.1.0 -f libpdtp.3.awk include/pdtp.h

function plain(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    sub(/^[.']/, "\\\\\\&&", text)
    return text
}

# Switches between filled text and lines as they are.
function fill(wanted) {
    if (wanted == filled) return
    print wanted ? ".fi\n.RE" : ".RS 4\n.nf"
    filled = wanted
}

function first_sentence(text) {
    if (match(text, /\. [A-Z`]|\.$/)) text = substr(text, 1, RSTART)
    return text
}

BEGIN {
    filled = fresh = 1
    print ".TH LIBPDTP 3 \"\" \"pdtp " version "\" \"Library Functions\""
    print ".SH NAME\nlibpdtp \\- client library of the Peer Distributed Transfer Protocol"
    print ".SH SYNOPSIS\n.nf\n#include <pdtp.h>\n\ncc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs pdtp)\n.fi\n.SH DESCRIPTION"
}

# The comment at the head: headings are underlined, code is indented by four.
!past {
    if ($0 ~ /^ \*\/$/) { past = 1; fill(1); if (held != "") print plain(held); print ".SH FUNCTIONS"; next }
    line = $0
    sub(/^\/\*$/, "", line)
    sub(/^ \* ?/, "", line)
    if (line ~ /^pdtp\.h - / || line ~ /^Made from src/) next
    if (line ~ /^-+$/) { fill(1); print ".SH \"" toupper(held) "\""; held = ""; apart = 0; fresh = 1; next }
    if (held != "") { if (held_apart != "") print held_apart; print plain(held) }
    held = ""
    if (line == "") { if (filled) apart = 1; else print ""; next }
    if (line ~ /^(    |\|)/) { fill(0); print plain(line); apart = fresh = 0; next }
    fill(1)
    if (line ~ /^- /) { print ".IP \\(bu 2"; sub(/^- /, "", line) }
    else if (apart && !fresh && line !~ /^ /) apart_from = ".PP"
    sub(/^ +/, "", line)
    held = line
    held_apart = apart_from
    apart = fresh = 0
    apart_from = ""
    next
}

# Sections, comments and prototypes of the rest.
/^\/\* -+ .* \*\/$/ {
    section = $0
    gsub(/^\/\* -+ | \*\/$/, "", section)
    next
}
/^\/\*\*/ { comment = ""; open = 1 }
open {
    line = $0
    gsub(/^\/\*\* ?|^ \* ?|\*\/$/, "", line)
    if (line == "" && comment != "") closed = 1
    if (!closed) comment = comment (comment == "" ? "" : " ") line
    if ($0 ~ /\*\/$/) { open = 0; closed = 0 }
    next
}
/^[a-z].*pdtp_[a-z0-9_]*\(/ && !/^typedef/ {
    name = $0
    sub(/\(.*/, "", name)
    sub(/.*[ *]/, "", name)
    if (section != "") { print ".SS \"" section "\""; section = "" }
    print ".TP\n\\fB" name "\\fR()\n" plain(first_sentence(comment))
}

END {
    print ".SH FILES\n.TP\n.I pdtp.h\nThe reference: it says of every function whether it blocks, from which threads it may be called, who owns what, and how it fails."
    print ".TP\n.I pdtp.hpp\nThe same for C++17, with handles that free themselves."
    print ".SH \"SEE ALSO\"\n.BR pdtp (1),\n.BR pdtpd (8)"
}
