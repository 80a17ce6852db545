package runtime

import (
	"bytes"
	"testing"

	"github.com/sirupsen/logrus"
)

func TestNoiseIsLeftOut(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	log.SetFormatter(quiet{&logrus.TextFormatter{DisableTimestamp: true}})
	log.Warn("failed check for fsverity support")
	log.Warn("failed to load cni during init, please check CRI plugin status")
	log.Error("failed to load cni during init, and it matters")
	log.Warn("disk is slow")
	const want = "level=error msg=\"failed to load cni during init, and it matters\"\nlevel=warning msg=\"disk is slow\"\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
