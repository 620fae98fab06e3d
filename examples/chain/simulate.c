/* Brownian motion in the double well (x^2 - 1)^2: simulate START.bin TEMPERATURE STEPS MEANS.txt */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state = 88172645463325252ULL;

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

static double normal(void)
{
    double u = uniform(), v = uniform();
    return sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: simulate START.bin TEMPERATURE STEPS MEANS.txt\n");
        return 2;
    }
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[4], "w");
    double temperature = atof(argv[2]), step = 0.005, energy = 0, x;
    long steps = atol(argv[3]), particles = 0, crossings = 0;
    if (!in || !out || temperature <= 0 || steps <= 0) {
        fprintf(stderr, "simulate: cannot use these arguments\n");
        return 3;
    }
    for (; fread(&x, sizeof x, 1, in) == 1; particles++) {
        int side = x > 0;
        for (long i = 0; i < steps; i++) {
            x += -4 * x * (x * x - 1) * step + sqrt(2 * temperature * step) * normal();
            energy += (x * x - 1) * (x * x - 1);
            if ((x > 0.5 && !side) || (x < -0.5 && side)) {
                side = !side;
                crossings++;
            }
        }
    }
    double num = (double)particles * (double)steps;
    fprintf(out, "# temperature energy rate\n%.17g %.17g %.17g\n", temperature, energy / num, crossings / num / step);
    printf("%ld particles, %ld steps, %ld crossings\n", particles, steps, crossings);
    return fclose(out) != 0;
}
