package runtime

import (
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
)

// quiet leaves out warnings of containerd's that every start gives and nobody can
// act on, so that those that are left are read.
type quiet struct{ logrus.Formatter }

// noise begins the messages that are left out: a file system that cannot seal files
// is as good as any, and the network is configured by another part, which makes
// the node unready until it is.
func noise() []string {
	return []string{"failed check for fsverity support", "failed to load cni during init"}
}

func (q quiet) Format(e *logrus.Entry) ([]byte, error) {
	if e.Level == logrus.WarnLevel && slices.ContainsFunc(noise(), func(n string) bool { return strings.HasPrefix(e.Message, n) }) {
		return nil, nil
	}
	return q.Formatter.Format(e)
}
