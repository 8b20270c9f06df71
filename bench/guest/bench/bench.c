/* SPDX-License-Identifier: MIT OR Apache-2.0
 * bench claim ADDRESS...      the system calls of a claim and nothing else: lists the devices, reads one attribute of each,
 *                             then for each address sets the override, unbinds a driver, probes, and reads the driver back
 * bench survey DIRECTORY      only lists the devices and reads one attribute of each, below this instead of /sys/bus/pci
 * bench release ADDRESS...    undoes that: no driver, no override
 * bench time COMMAND...       runs a command with its output discarded; prints microseconds, its peak memory in KiB, its exit status
 *                             and the microseconds that it spent in user mode
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PCI "/sys/bus/pci/"

static int put(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t done;

	if (file < 0)
		return -1;
	done = write(file, text, strlen(text));
	close(file);
	return done < 0 ? -1 : 0;
}

static void survey(const char *pci)
{
	DIR *directory;
	struct dirent *entry;
	char path[512], text[4096];

	snprintf(path, sizeof path, "%s/devices", pci);
	directory = opendir(path);
	if (!directory)
		exit(1);

	while ((entry = readdir(directory))) {
		int file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/devices/%s/modalias", pci, entry->d_name);
		file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0 || read(file, text, sizeof text) < 0)
			exit(1);
		close(file);
	}
	closedir(directory);
}

static int claim(const char *address)
{
	char path[512], driver[512];
	ssize_t length;

	snprintf(path, sizeof path, PCI "devices/%s/driver_override", address);
	if (put(path, "vfio-pci\n"))
		return 1;
	snprintf(path, sizeof path, PCI "devices/%s/driver/unbind", address);
	put(path, address);
	if (put(PCI "drivers_probe", address))
		return 1;
	snprintf(path, sizeof path, PCI "devices/%s/driver", address);
	length = readlink(path, driver, sizeof driver - 1);
	if (length < 0)
		return 1;
	driver[length] = 0;
	return !strstr(driver, "/vfio-pci");
}

static void release(const char *address)
{
	char path[512];

	snprintf(path, sizeof path, PCI "devices/%s/driver_override", address);
	put(path, "\n");
	snprintf(path, sizeof path, PCI "devices/%s/driver/unbind", address);
	put(path, address);
}

static int measure(char **command)
{
	struct timespec start, end;
	struct rusage usage;
	int status;
	pid_t child;

	clock_gettime(CLOCK_MONOTONIC, &start);
	child = fork();
	if (!child) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(command[0], command);
		_exit(127);
	}
	wait4(child, &status, 0, &usage);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%ld %ld %d %ld\n", (end.tv_sec - start.tv_sec) * 1000000 + (end.tv_nsec - start.tv_nsec) / 1000, usage.ru_maxrss,
	       WIFEXITED(status) ? WEXITSTATUS(status) : 128, usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec);
	return 0;
}

int main(int count, char **words)
{
	int failed = 0, i;

	if (count < 3)
		return 2;
	if (!strcmp(words[1], "time"))
		return measure(words + 2);
	if (!strcmp(words[1], "claim")) {
		survey(PCI);
		for (i = 2; i < count; i++)
			failed |= claim(words[i]);
		return failed;
	}
	if (!strcmp(words[1], "survey")) {
		survey(words[2]);
		return 0;
	}
	for (i = 2; i < count; i++)
		release(words[i]);
	return 0;
}
