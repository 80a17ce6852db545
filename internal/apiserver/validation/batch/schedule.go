package batch

import (
	"errors"
	"strings"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// schedule checks the five fields of a schedule, or its macro.
func schedule(l *check.List, s, old *batchv1.CronJobSpec, path *field.Path) {
	if _, err := parse(s.Schedule); err != nil {
		l.Invalid(path, s.Schedule, err.Error())
	}
	zoned := strings.Contains(s.Schedule, "TZ")
	before := old != nil && strings.Contains(old.Schedule, "TZ")
	switch {
	case before && zoned && s.TimeZone != nil:
		l.Invalid(path, s.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
	case !before && zoned:
		l.Invalid(path, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	}
}

// parse never panics: the library does on a time zone alone.
func parse(text string) (sched cron.Schedule, err error) {
	defer func() {
		if recover() != nil {
			sched, err = nil, errSchedule
		}
	}()
	return cron.ParseStandard(text)
}

// errSchedule stands for what the parser cannot even refuse.
var errSchedule = errors.New("expected exactly 5 fields")
